//! Recognizes one word of a list, byte by byte.

/// How far the input agrees with a word of a list.
#[derive(Clone, Copy, Debug, Default)]
pub struct Word {
    /// A word that agrees with all that was read.
    candidate: u8,
    /// How many bytes were read.
    length: u8,
}

/// What the next byte makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The byte belongs to a word; more is needed.
    More,
    /// The byte completes the word at this index.
    Whole(u8),
    /// The word at this index was complete before this byte, which does not belong to it.
    Before(u8),
    /// No word starts like this; the byte was not read.
    None,
}

impl Word {
    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Reads `byte`, with the case of letters as the list has it.
    pub fn read(&mut self, words: &[&str], byte: u8) -> Found {
        let at = usize::from(self.length);
        let word = |index: usize| words.get(index).map_or(&[][..], |word| word.as_bytes());
        let candidate = usize::from(self.candidate);
        let read = word(candidate).get(..at).unwrap_or_default();
        let fits =
            |index: usize| word(index).starts_with(read) && word(index).get(at) == Some(&byte);
        let known = if fits(candidate) {
            Some(candidate)
        } else {
            (0..words.len()).find(|index| fits(*index))
        };
        let number = |index: usize| u8::try_from(index).unwrap_or(u8::MAX);
        let Some(index) = known else {
            let whole = (0..words.len()).find(|index| at > 0 && word(*index) == read);
            return whole.map_or(Found::None, |index| Found::Before(number(index)));
        };
        self.candidate = number(index);
        self.length += 1;
        let read = word(index).get(..=at).unwrap_or_default();
        let longer = |other: usize| word(other).len() > read.len() && word(other).starts_with(read);
        match (0..words.len()).find(|index| word(*index) == read) {
            Some(whole) if !(0..words.len()).any(longer) => Found::Whole(number(whole)),
            _ => Found::More,
        }
    }
}
