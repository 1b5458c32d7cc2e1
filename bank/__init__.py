"""IR banks: the file format, reading by memory map, building, importing and exporting folders of recordings."""
