"""One module per console script: its parser, its handler and `main`.

The import of a command takes longer than a Ctrl-C: until `main` handles signals, SIGINT ends a console script without
a traceback.
"""

import atexit
import gc
import os
import signal
import sys

# Only in a console script, which has the name of a module here: other programs have their own way with both.
_script = os.path.basename(sys.argv[0] if sys.argv else "").replace("-", "_")
if os.path.isfile(os.path.join(os.path.dirname(__file__), f"{_script}.py")):
    # Imports make many objects and no garbage. Looking for it meanwhile, and at the end, takes a tenth of a short run.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
