//! Which key an object has: it follows from its number, so that nobody has to keep any.

/// How numbers become keys.
#[derive(Debug, Clone)]
pub struct Keys {
    /// What keys begin with; the number follows. Unreserved characters and `/` only.
    pub prefix: String,
    /// The keys are those of a bucket that `crates/cairn/examples/fill.rs` has filled with so many objects.
    pub filled: Option<u64>,
}

impl Keys {
    /// The key of the object of this number. Keys with a prefix sort as their numbers do.
    pub fn of(&self, number: u64) -> String {
        match self.filled {
            None => format!("{}{number:08}", self.prefix),
            Some(objects) => {
                let many = objects / 10;
                match number.checked_sub(many) {
                    None => format!("many/{number:08}"),
                    Some(rest) => format!("folder-{:02}/{:08}", rest % 90, rest / 90),
                }
            }
        }
    }

    /// A new key, the same for the same number, right behind some key of the filled bucket: new keys come everywhere among those that are there, but
    /// for the folder `many/`, whose pages are compared with what it was filled with.
    pub fn between(&self, number: u64) -> String {
        let filled = self.filled.unwrap_or(u64::MAX);
        let many = filled / 10;
        format!("{}-{number}", self.of(many + mixed(number) % (filled - many).max(1)))
    }
}

/// A number that looks like any (splitmix64).
pub fn mixed(state: u64) -> u64 {
    let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Keys;

    #[test]
    fn the_keys_of_a_filled_bucket_are_all_different_and_a_tenth_is_in_one_folder() {
        let keys = Keys { prefix: String::new(), filled: Some(10_000) };
        let all: BTreeSet<String> = (0..10_000).map(|number| keys.of(number)).collect();
        assert_eq!(all.len(), 10_000);
        assert_eq!(all.iter().filter(|key| key.starts_with("many/")).count(), 1000);
        let folders: BTreeSet<&str> = all.iter().filter_map(|key| key.split_once('/')).map(|(folder, _)| folder).collect();
        assert_eq!(folders.len(), 91);
    }

    #[test]
    fn new_keys_come_everywhere_but_in_the_folder_whose_pages_are_compared() {
        let keys = Keys { prefix: String::new(), filled: Some(10_000) };
        let new: BTreeSet<String> = (0..2000).map(|number| keys.between(number)).collect();
        assert_eq!(new.len(), 2000);
        let folders: BTreeSet<&str> = new.iter().filter_map(|key| key.split_once('/')).map(|(folder, _)| folder).collect();
        assert_eq!((folders.len(), folders.contains("many")), (90, false), "every other folder gets some");
    }

    #[test]
    fn keys_with_a_prefix_sort_as_their_numbers() {
        let keys = Keys { prefix: "read/".to_owned(), filled: None };
        assert_eq!([keys.of(9), keys.of(10)], ["read/00000009", "read/00000010"]);
    }
}
