"""Pictures, multi-page files and videos: frames."""
