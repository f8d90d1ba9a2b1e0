"""Studies of the estimators: `python -m rtrl experiment NAME`.

noise    how far the gradient of an estimator lies from the exact one
report   a result as JSON lines, CSV or tables           plots    what pictures need

A study is a module, with a line in rtrl.commands.experiment, that has

HELP, DESCRIPTION           its words in the list of studies, and in its own help
add_options(parser)         its options; --format, --out and --plot are everyone's
start(options, progress)    what was asked for as plain data, and an iterator of rows: dicts of plain data, one a result;
                            a row with "refused" says why there is none
tables(settings, rows)      rows as tables for people, with a line end
save(rows, path)            rows as a PNG file
"""
