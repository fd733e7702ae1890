#!/bin/sh
# Stands for a program of the team's.
echo "computed on base $(cat /etc/base-version), by $(id -un)"
