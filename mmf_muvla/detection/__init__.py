"""Pictures become regions: sources of pictures, decoding, detectors, and the job that writes a region store."""
