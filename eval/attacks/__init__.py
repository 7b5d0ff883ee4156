"""What eval/hardening.py does to facever, a module for each kind of harm."""
