"""What a user sees of a run while it goes on.

What lives here: how far a run is, as a pure fold over events; displays of it, live in a terminal or as plain lines; and
`run_shown`, which runs a job with one of them. What never happens here: writing to the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelhopper.display.shown import Display, Form
    from modelhopper.running import Job


def run_shown(job: Job, form: Form | None = None) -> Display:
    """Run a job and show how far it is; return the display, which knows how it ended.

    `form`: live, plain lines or quiet; by default live in a terminal and plain lines elsewhere.
    """
    from modelhopper.display.sentences import home, summary
    from modelhopper.display.shown import display_of
    from modelhopper.running import run_job

    display = display_of(job, form)
    with display:
        run_job(job, display.heard)
    display.say(f"{summary(display.progress)}. Results in {home(job.store.url, job.specification.experiment.name)}")
    return display
