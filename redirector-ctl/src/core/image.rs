//! The whole content that the kernel's tables should have, and the writes from one content to another.
