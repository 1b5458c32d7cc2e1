"""IR banks: the file format, building, import and export of folders of recordings, playback."""
