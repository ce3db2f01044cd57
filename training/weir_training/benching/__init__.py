"""`weir bench`: an engine, a gateway, or both beside other engines, measured in interleaved rounds."""
