//! The names of one object's members, to find duplicates within a fixed multiple of the text's length.

use std::borrow::Cow;

/// The names of an object's members: a list that is searched while it is short, which nearly every object is, and spans
/// that are sorted each time their number has grown by half.
///
/// A span takes 8 bytes, a member of an object with so many different names at least 8 bytes of text.
pub(super) struct Names<'de> {
    text: &'de [u8],
    few: Vec<Cow<'de, str>>,
    many: Vec<Span>,
    /// Names that are not in the text as they are, because they were written with escapes. Spans beyond the end of the
    /// text mean this.
    unescaped: Vec<u8>,
    /// The number of spans at which they are sorted next.
    next_search: usize,
}

/// Why an object's names are rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NameError {
    #[error("duplicate field `{name}`")]
    Duplicate { name: String },
    /// Spans reach 4 GiB.
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
        Self { text, few: Vec::new(), many: Vec::new(), unescaped: Vec::new(), next_search: 4 * Self::FEW }
    }

    /// Adds a name.
    ///
    /// # Errors
    ///
    /// [`NameError`], for a duplicate perhaps later than its second addition: [`check`](Self::check) at the end of the
    /// object finds them all.
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
        let Self { text, many, unescaped, .. } = self;
        let name = |span: &Span| bytes(text, unescaped, *span);
        many.sort_unstable_by(|one, other| name(one).cmp(name(other)));
        let twice = many.windows(2).find_map(|pair| match pair {
            [one, other] if name(one) == name(other) => Some(name(one)),
            _ => None,
        });
        twice.map_or(Ok(()), |name| Err(NameError::duplicate(&String::from_utf8_lossy(name))))
    }

    /// Where the name is, in the text or among the unescaped ones.
    fn span(&mut self, name: Cow<'de, str>) -> Option<Span> {
        let length = name.len();
        let start = match name {
            Cow::Borrowed(name) => name.as_ptr().addr().checked_sub(self.text.as_ptr().addr())?,
            Cow::Owned(name) => {
                let start = self.text.len().checked_add(self.unescaped.len())?;
                if self.unescaped.is_empty() {
                    self.unescaped = name.into_bytes();
                } else {
                    self.unescaped.extend_from_slice(name.as_bytes());
                }
                start
            }
        };
        let end = start.checked_add(length)?;
        Some(Span { start: start.try_into().ok()?, end: end.try_into().ok()? })
    }
}

/// The bytes of a name; a span never lies across the end of the text.
fn bytes<'n>(text: &'n [u8], unescaped: &'n [u8], span: Span) -> &'n [u8] {
    let range = |span: Span| Some(usize::try_from(span.start).ok()?..usize::try_from(span.end).ok()?);
    let found = range(span).and_then(|range| match range.start.checked_sub(text.len()) {
        None => text.get(range),
        Some(start) => unescaped.get(start..range.end.checked_sub(text.len())?),
    });
    found.unwrap_or_default()
}
