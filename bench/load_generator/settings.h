/* Settings as arguments, name=value. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include "wire.h"

enum { NUMBERS_MAX = 16 };

/* A list as 1,2,3. */
struct numbers {
    int list[NUMBERS_MAX];
    size_t count;
};

enum kind { COUNT, REAL, FLAG, TEXT, LIST };

/* Where the value of a setting goes: uint32_t, double, bool, const char *, struct numbers. */
struct setting {
    const char *name;
    enum kind kind;
    void *value;
};

void read_settings(int count, char **arguments, const struct setting *settings, size_t setting_count);

#endif
