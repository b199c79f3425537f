"""A command on several processes.

`launcher.py` starts them, `joined.py` is what each of them does around its work, `variables.py` what users can set.
"""
