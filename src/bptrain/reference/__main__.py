"""`python -m bptrain.reference`: what the rules cover, class by class of torch.nn.

Torch's own samples of its modules are checked, and for the classes it has none of, `modules.py` has some.
`python -m bptrain.reference > docs/coverage.md` renews that page.
"""

from __future__ import annotations

import sys
import warnings

from bptrain.errors import BptrainError


def main() -> int:
    warnings.simplefilter("ignore")  # of the samples, which use deprecated forms on purpose

    from bptrain.check.coverage import coverage, table

    rows = coverage()
    print(table(rows))
    return 3 if any(row.wrong for row in rows) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BptrainError as error:
        print(f"bptrain: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
