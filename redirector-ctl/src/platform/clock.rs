//! Time: the one place that reads the clocks.
