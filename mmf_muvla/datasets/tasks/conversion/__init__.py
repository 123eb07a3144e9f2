"""What all converters of annotations share."""
