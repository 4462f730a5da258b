//! An authority that was ended stays ended.
