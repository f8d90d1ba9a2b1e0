"""Write tests/golden anew: `python tests/regenerate_golden.py`.

Only for a change that is meant to change results; say in the commit message which and why.
"""

import json

from golden_runs import CELLS, GOLDEN, file_of, traces

if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for cell in CELLS:
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(losses)}" for name, losses in traces(cell).items())
        file_of(cell).write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
        print(file_of(cell))
