"""A search of your own: a class with `rungs`, `start` and `judge`. This one goes on with whoever still improves.

It is asked anew after each arrival, and must answer from what it is given alone: equal pasts, equal answers. So it can
be rebuilt after any kill.
"""

import modelhopper as mh


class Improving:
    def __init__(self, setting, configurations=6, every=5, by=0.01):
        """The setting has `space`, `iterations` and `seed`; the rest is what stands beside `method` in the file."""
        self.setting = setting
        self.configurations = configurations
        self.by = by
        # The iterations after which it wants to be asked.
        self.rungs = list(range(every, setting.iterations, every))

    def start(self, past):
        """All start at the beginning, with values drawn by the experiment's seed and their number."""
        if past.trials:
            return []
        return [
            mh.Start(
                configuration=number,
                choice=mh.draw(self.setting.space, self.setting.seed, number),
                until=self.rungs[0] if self.rungs else self.setting.iterations,
                reason="one of those that were drawn",
            )
            for number in range(1, self.configurations + 1)
        ]

    def judge(self, past):
        """Each that waits is judged by its own values alone, so it matters not who else has arrived."""
        return [self.verdict(trial, past.metric) for trial in past.waiting]

    def verdict(self, trial, metric):
        now, before = trial.value, trial.values.get(self.last(trial.until))
        if before is None:
            return self.on(trial, f"the first {metric}: {now:.3f}")
        gain = before - now if metric.lower_is_better else now - before
        reason = f"{metric} {now:.3f}, {gain:+.3f} since the last time"
        if gain < self.by:
            return mh.Stop(configuration=trial.number, reason=f"{reason}; less than {self.by}")
        return self.on(trial, reason)

    def on(self, trial, reason):
        coming = [rung for rung in self.rungs if rung > trial.until]
        return mh.GoOn(configuration=trial.number, until=min(coming, default=self.setting.iterations), reason=reason)

    def last(self, until):
        return max((rung for rung in self.rungs if rung < until), default=0)
