"""Jobs on AWS Batch: from the section of an image to a job definition, and from that to a job."""
