//! Decisions: what to change, and why, from intent and measurement. Pure and deterministic.
