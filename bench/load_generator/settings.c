#include "settings.h"

#include <stdlib.h>
#include <string.h>

static void read_value(const struct setting *setting, const char *text)
{
    struct numbers *numbers = setting->value;
    switch (setting->kind) {
    case COUNT:
        *(uint32_t *)setting->value = (uint32_t)strtoul(text, NULL, 10);
        break;
    case REAL:
        *(double *)setting->value = strtod(text, NULL);
        break;
    case FLAG:
        *(bool *)setting->value = *text == '1';
        break;
    case TEXT:
        *(const char **)setting->value = text;
        break;
    case LIST:
        for (char *end; *text && numbers->count < NUMBERS_MAX; text = *end ? end + 1 : end)
            numbers->list[numbers->count++] = (int)strtol(text, &end, 10);
    }
}

void read_settings(int count, char **arguments, const struct setting *settings, size_t setting_count)
{
    for (int i = 1; i < count; i++) {
        const char *value = strchr(arguments[i], '=');
        if (!value)
            die("%s: write name=value", arguments[i]);
        size_t name_bytes = (size_t)(value - arguments[i]), k = 0;
        while (k < setting_count
               && (strncmp(settings[k].name, arguments[i], name_bytes) || settings[k].name[name_bytes]))
            k++;
        if (k == setting_count)
            die("%s: no such setting", arguments[i]);
        read_value(&settings[k], value + 1);
    }
}
