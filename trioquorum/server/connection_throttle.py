"""How many sessions may be asked for in a time: a token bucket, in front of it drops at random (client-protocol §18).

The bucket alone would favour whoever asks right after it was filled. Where a freeze time is set, a share of those who
ask is turned away by chance: it grows while the bucket is found empty and shrinks while it is nearly full (the BLUE
queue management of Feng and others).
"""

import random

from trioquorum.limits import Throttles


class ConnectionThrottle:
    """Pure: the caller passes milliseconds of one clock, the first at construction."""

    def __init__(self, rules: Throttles, rng: random.Random, now_ms: int) -> None:
        self._rules = rules
        self._rng = rng
        # What is configured counts sessions of the dearest kind.
        self._worth = max(rules.connect_weight_global, rules.connect_weight_local) if rules.connect_weights else 1
        self._tokens_max = self._tokens = rules.connect_tokens * self._worth
        self._filled_ms = self._adjusted_ms = now_ms
        self.drop = 0.0
        """The share of sessions that is turned away by chance."""

    @property
    def deficit(self) -> int:
        """Tokens that the bucket lacks."""
        return self._tokens_max - self._tokens

    def cost(self, *, renewal: bool, local: bool) -> int:
        """Tokens of one session: taken up again, or a new one that is ``local`` or known to all peers."""
        rules = self._rules
        if not rules.connect_weights:
            return 1
        if renewal:
            return max(rules.connect_weight_renew, rules.connect_weight_local)
        return rules.connect_weight_local if local else self._worth

    def admits(self, cost: int, now_ms: int) -> bool:
        """Whether a session that costs so many tokens may be asked for now; if so they are spent."""
        if not self._tokens_max:
            return True
        rules = self._rules
        elapsed_ms = now_ms - self._filled_ms
        if elapsed_ms > rules.connect_fill_time_ms:
            filled = elapsed_ms * rules.connect_fill_count * self._worth // rules.connect_fill_time_ms
            self._tokens = min(self._tokens + filled, self._tokens_max)
            self._filled_ms = now_ms
        if rules.connect_freeze_time_ms >= 0 and self._drops(now_ms):
            return False
        if self._tokens < cost:
            return False
        self._tokens -= cost
        return True

    def _drops(self, now_ms: int) -> bool:
        rules = self._rules
        if now_ms - self._adjusted_ms > rules.connect_freeze_time_ms:
            if not self._tokens:
                self.drop = min(self.drop + rules.connect_drop_increase, 1.0)
            elif self.deficit <= round(self._tokens_max * rules.connect_decrease_ratio):
                self.drop = max(self.drop - rules.connect_drop_decrease, 0.0)
            self._adjusted_ms = now_ms
        return self._rng.random() < self.drop
