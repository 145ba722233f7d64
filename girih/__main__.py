"""`python -m girih`: generates the stubs if they are stale, and says where they are."""

from girih.generate import PACKAGE, PROTOS

# Importing the package has generated already, if there was anything to do.
print(f"stubs in {PACKAGE} fit {PROTOS}")
