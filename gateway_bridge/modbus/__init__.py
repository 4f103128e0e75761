"""One line, one request at a time: frames, links, the transport and the connection."""
