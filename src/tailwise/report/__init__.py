"""From run folders to what people read: results, tables and one self-contained page."""
