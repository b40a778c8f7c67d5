//! Checks of single values: names, addresses, ports. Each says what is wrong and what to do.
