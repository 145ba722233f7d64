import sys

# httpx has a command of its own, which is imported with it, and with it all of rich, click and
# pygments: more than everything else that a command of ours needs. None stands for what is not
# there, and httpx does without.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
