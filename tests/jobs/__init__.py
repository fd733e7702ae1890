"""Tests of dockerutils/jobs."""
