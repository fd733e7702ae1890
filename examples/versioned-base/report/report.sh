#!/bin/sh
# A stand-in for a real program.
echo "computed on base $(cat /etc/base-version), by $(id -un)"
