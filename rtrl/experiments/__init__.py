"""Studies of the estimators: `python -m rtrl experiment NAME`.

copy      string memorisation                            charlm    the next character of a text, of `corpus`
noise     distance of estimates from exact gradients     balancing a parameter that misleads who looks back too little
anbn      a^n b^n                                        brackets  distant brackets; both are `strings`
kalman    span of a dependency against truncation        forecast  streaming series: error and latency

settings  what a run is told                             recipe    the same for runs that learn
runs      work in windows that can be stopped            store     the folder of a run, checkpoints
perform   doing runs, one or many at once                sweeps    commands that many runs have in common
records   the files of a run, and what is wrong with them
report    results as JSON lines, CSV or tables           curves    learning curves as tables and figures
page      a folder of results as one page                markdown  its markup
plots     what pictures need

A study is a module, with a line in `STUDIES`, that has

HELP, DESCRIPTION           its words in the list of studies, and in its own help
Settings                    what a run is told, see `settings`; its fields are the options; `start` gives a `runs.Run`
tables(results)             results (`store.Result`) as a list of blocks: texts, and `report.Table`s
draw(results)               results as a figure
stage(runs, results)        optional: which of the runs to do next, given the results so far; none at the end

Results are read from files, so that `tables` and `draw` see plain data alone, and runs that have not come to their end.
"""

from rtrl.experiments import anbn, balancing, brackets, charlm, copy, forecast, kalman, noise

__all__ = ["STUDIES"]

STUDIES = {
    "copy": copy,
    "charlm": charlm,
    "influence-balancing": balancing,
    "anbn": anbn,
    "brackets": brackets,
    "kalman": kalman,
    "forecast": forecast,
    "noise": noise,
}
