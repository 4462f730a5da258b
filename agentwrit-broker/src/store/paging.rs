//! Pages of lists.

/// Which part of a list: what comes after a cursor, less the first few, up to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many to list.
    pub limit: u64,
    /// How many to skip.
    pub offset: u64,
    /// List what comes after this cursor.
    pub after: u64,
}
