"""What arena learns from recorded episodes itself: the only part of arena that needs torch."""
