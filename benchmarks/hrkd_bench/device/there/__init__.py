"""Programs that are sent to a device as text and run by whatever Python it has; nothing here imports anything of ours.

Nothing newer than Python 3.7, and the standard library alone.
"""

from __future__ import annotations
