//! Texts that many rows share, each kept once.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Number of a text; 0 is "none".
pub(super) type TextId = u32;

/// Most octets of a reply or reason that the index keeps; what a filter and a list need of it.
pub(super) const REPLY_BYTES_KEPT: usize = 200;

/// Octets of all distinct texts after which replies are kept by their code alone.
///
/// Some servers put an id of their own into every reply, so that no two are alike; without a bound the index
/// of a million deferred messages would be made of them.
const TEXTS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Memory of one text beyond its octets: the count, the place in the order.
const TEXT_BYTES: usize = 96;

/// The shared texts.
///
/// A tree and not a hash table: no insertion moves the others, so none takes long.
#[derive(Debug, Default)]
pub(super) struct Texts {
    numbers: BTreeMap<Arc<str>, TextId>,
    slots: Vec<Slot>,
    free: Vec<TextId>,
    bytes: usize,
    generation: u64,
}

#[derive(Debug)]
struct Slot {
    text: Arc<str>,
    uses: u32,
}

impl Texts {
    /// The number of a text, counted once more as used; 0 for the empty text.
    pub(super) fn take(&mut self, text: &str) -> TextId {
        if text.is_empty() {
            return 0;
        }
        if let Some(number) = self.numbers.get(text).copied() {
            if let Some(slot) = self.slot_mut(number) {
                slot.uses = slot.uses.saturating_add(1);
            }
            return number;
        }
        let text: Arc<str> = text.into();
        self.bytes += text.len() + TEXT_BYTES;
        let slot = Slot { text: text.clone(), uses: 1 };
        let number = match self.free.pop() {
            Some(number) => {
                // What a query remembers of this number was about another text.
                self.generation += 1;
                if let Some(place) = self.slot_mut(number) {
                    *place = slot;
                }
                number
            }
            None => {
                self.slots.push(slot);
                TextId::try_from(self.slots.len()).unwrap_or(TextId::MAX)
            }
        };
        self.numbers.insert(text, number);
        number
    }

    /// The number of a reply: shortened, and kept by its code alone where there are too many different ones.
    pub(super) fn take_reply(&mut self, reply: &str) -> TextId {
        let short = reply.get(..reply.floor_char_boundary(REPLY_BYTES_KEPT)).unwrap_or(reply);
        if self.bytes > TEXTS_BYTES_MAX && !self.numbers.contains_key(short) {
            let codes = reply.split(' ').take(2).take_while(|word| word.starts_with(|c: char| c.is_ascii_digit()));
            let codes: Vec<&str> = codes.collect();
            return self.take(format!("{} (the text is in the message)", codes.join(" ")).trim_start());
        }
        self.take(short)
    }

    /// One use less; a text that nobody uses is forgotten.
    pub(super) fn give_back(&mut self, number: TextId) {
        let Some(slot) = self.slot_mut(number) else { return };
        slot.uses = slot.uses.saturating_sub(1);
        if slot.uses > 0 {
            return;
        }
        let text = core::mem::replace(&mut slot.text, "".into());
        self.bytes = self.bytes.saturating_sub(text.len() + TEXT_BYTES);
        self.numbers.remove(&text);
        self.free.push(number);
    }

    /// The number of a text that is there.
    pub(super) fn find(&self, text: &str) -> Option<TextId> {
        self.numbers.get(text).copied()
    }

    /// The text of a number.
    pub(super) fn text(&self, number: TextId) -> &str {
        let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        place.and_then(|place| self.slots.get(place)).map_or("", |slot| &slot.text)
    }

    /// Changes where a number came to stand for another text.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// How many different texts there are.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    fn slot_mut(&mut self, number: TextId) -> Option<&mut Slot> {
        let place = usize::try_from(number).ok()?.checked_sub(1)?;
        self.slots.get_mut(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_and_forgotten_with_its_last_use() {
        let mut texts = Texts::default();
        let (one, other) = (texts.take("a.example"), texts.take("b.example"));
        assert_eq!((texts.take("a.example"), texts.take(""), texts.len()), (one, 0, 2));
        texts.give_back(one);
        assert_eq!(texts.text(one), "a.example");
        texts.give_back(one);
        assert_eq!((texts.text(one), texts.len(), texts.generation()), ("", 1, 0));
        assert_eq!(texts.take("c.example"), one, "its number is used again");
        assert_eq!((texts.text(one), texts.text(other), texts.generation()), ("c.example", "b.example", 1));
        texts.give_back(0);
    }

    #[test]
    fn replies_that_are_all_different_do_not_fill_the_memory() {
        let mut texts = Texts::default();
        let reply = |number: u32| format!("421 4.7.0 try again later {number} {}", "x".repeat(1_000));
        for number in 0..120_000 {
            texts.take_reply(&reply(number));
        }
        assert!(texts.bytes < TEXTS_BYTES_MAX + 1_000, "{} octets", texts.bytes);
        let late = texts.take_reply(&reply(120_001));
        assert_eq!(texts.text(late), "421 4.7.0 (the text is in the message)");
        let held = texts.take_reply("held by nobody knows whom");
        assert_eq!(texts.text(held), "(the text is in the message)");
    }
}
