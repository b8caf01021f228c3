"""How calls travel: the channel, its retries, errors on the way back, windowed streams. Knows no message of its own."""
