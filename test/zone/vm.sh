#!/bin/bash
# Containers' images in computers of their own, each with a kernel of its own: what a person sees, and
# what hostile images try. LODGE is the program.
exec bash "$(dirname "$0")/guest.sh" vm.py
