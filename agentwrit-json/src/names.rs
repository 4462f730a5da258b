//! Member names of one object: finds duplicates in memory of a fixed multiple of the text's length.

use std::borrow::Cow;

/// Member names of an object: a list that is searched linearly while it is short, then spans of the text that are sorted
/// each time their number has grown by half.
///
/// A span takes 8 bytes; a member of an object with that many different names takes at least 8 bytes of text.
pub(super) struct Names<'de> {
    text: &'de [u8],
    few: Vec<Cow<'de, str>>,
    many: Vec<Span>,
    /// Names that were written with escapes, decoded. A span beyond the end of the text refers to this buffer.
    decoded: Vec<u8>,
    /// Number of spans at which they are sorted next.
    next_search: usize,
}

/// Reason for rejecting an object's member names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NameError {
    #[error("duplicate field `{name}`")]
    Duplicate { name: String },
    /// A span is limited to 4 GiB.
    #[error("the text is too long")]
    TextTooLong,
}

impl NameError {
    fn duplicate(name: &str) -> Self {
        Self::Duplicate { name: name.chars().take(64).collect() }
    }
}

#[derive(Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

impl<'de> Names<'de> {
    const FEW: usize = 24;

    pub(super) fn new(text: &'de [u8]) -> Self {
        Self { text, few: Vec::new(), many: Vec::new(), decoded: Vec::new(), next_search: 4 * Self::FEW }
    }

    /// Adds a name.
    ///
    /// # Errors
    ///
    /// [`NameError`]; a duplicate may be reported later than its second addition, at the latest by
    /// [`check`](Self::check) at the end of the object.
    pub(super) fn add(&mut self, name: Cow<'de, str>) -> Result<(), NameError> {
        if self.few.contains(&name) {
            return Err(NameError::duplicate(&name));
        }
        if self.few.len() < Self::FEW {
            self.few.push(name);
            return Ok(());
        }
        let span = self.span(name).ok_or(NameError::TextTooLong)?;
        if self.many.len() == self.many.capacity() {
            self.many.reserve_exact((self.many.len() / 2).max(Self::FEW));
        }
        self.many.push(span);
        if self.many.len() < self.next_search {
            return Ok(());
        }
        self.next_search = self.many.len().saturating_add(self.many.len() / 2);
        self.check()
    }

    /// Rejects a name that was added twice.
    pub(super) fn check(&mut self) -> Result<(), NameError> {
        let Self { text, many, decoded, .. } = self;
        let name = |span: &Span| bytes(text, decoded, *span);
        many.sort_unstable_by(|one, other| name(one).cmp(name(other)));
        let twice = many.windows(2).find_map(|pair| match pair {
            [one, other] if name(one) == name(other) => Some(name(one)),
            _ => None,
        });
        twice.map_or(Ok(()), |name| Err(NameError::duplicate(&String::from_utf8_lossy(name))))
    }

    /// Returns the span of the name, in the text or in the buffer of decoded names.
    fn span(&mut self, name: Cow<'de, str>) -> Option<Span> {
        let length = name.len();
        let start = match name {
            Cow::Borrowed(name) => name.as_ptr().addr().checked_sub(self.text.as_ptr().addr())?,
            Cow::Owned(name) => {
                let start = self.text.len().checked_add(self.decoded.len())?;
                if self.decoded.is_empty() {
                    self.decoded = name.into_bytes();
                } else {
                    self.decoded.extend_from_slice(name.as_bytes());
                }
                start
            }
        };
        let end = start.checked_add(length)?;
        Some(Span { start: start.try_into().ok()?, end: end.try_into().ok()? })
    }
}

/// Returns the bytes of a name; a span never crosses the end of the text.
fn bytes<'n>(text: &'n [u8], decoded: &'n [u8], span: Span) -> &'n [u8] {
    let range = |span: Span| Some(usize::try_from(span.start).ok()?..usize::try_from(span.end).ok()?);
    let found = range(span).and_then(|range| match range.start.checked_sub(text.len()) {
        None => text.get(range),
        Some(start) => decoded.get(start..range.end.checked_sub(text.len())?),
    });
    found.unwrap_or_default()
}
