//! Python source as far as it can be read without Python: its statements, names and texts.
//!
//! Enough to say that a text is not closed or a bracket does not match, that a function is there, what is imported and
//! what is called; far from enough to say that the code runs. What a file does is found when it is run, in a sandbox.

mod lexer;

use std::collections::BTreeSet;

/// Longest name of an imported module that is read, with its dots.
const MOST_MODULE_BYTES: usize = 256;

/// A statement, or a part of a line between semicolons. What follows a colon in the same line belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statement {
    /// The line that it begins in, from 1.
    pub line: u64,
    /// How far it stands from the margin.
    pub indent: usize,
    /// What it is made of.
    pub tokens: Vec<Token>,
}

/// A piece of source. Comments and white space are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A name or a keyword.
    Name(String),
    /// A number.
    Number,
    /// A text, with its escapes read. An f-string is several of them, with the pieces of its expressions between.
    Text(String),
    /// One character of anything else.
    Mark(char),
}

impl Token {
    /// The name, where it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Number | Self::Text(_) | Self::Mark(_) => None,
        }
    }

    /// Whether it is this character.
    pub fn is(&self, mark: char) -> bool {
        *self == Self::Mark(mark)
    }
}

/// Why a text cannot be Python.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong, in words.
    pub message: String,
}

/// What is imported.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// The module with its dots, such as `urllib.parse`; of a relative import what follows the leading dots. A name that is
    /// far too long is cut, and ends in `…`.
    pub module: String,
    /// Whether it is relative to the file's own folder.
    pub relative: bool,
    /// The names taken out of it; none of a plain `import`.
    pub names: Vec<String>,
}

/// A file's source, read.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// Its statements in order.
    pub statements: Vec<Statement>,
    /// The first thing that cannot be Python, after which nothing was read.
    pub fault: Option<Fault>,
}

impl Source {
    /// Reads a file.
    pub fn read(text: &str) -> Self {
        lexer::read(text)
    }

    /// Whether a name is given a meaning at the top of the file: by `def`, an assignment or an import.
    pub fn defines(&self, wanted: &str) -> bool {
        self.statements
            .iter()
            .filter(|one| one.indent == 0)
            .any(|one| {
                let names = |at: usize| one.tokens.get(at).and_then(Token::name);
                match names(0) {
                    Some("def" | "class") => names(1) == Some(wanted),
                    Some("async") => names(2) == Some(wanted),
                    Some("import" | "from") => {
                        one.tokens.iter().any(|token| token.name() == Some(wanted))
                    }
                    Some(name) => {
                        name == wanted && one.tokens.get(1).is_some_and(|token| token.is('='))
                    }
                    None => false,
                }
            })
    }

    /// Whether a name is an `async` function, whose call gives no value.
    pub fn is_async(&self, wanted: &str) -> bool {
        self.statements.iter().any(|one| {
            let names = |at: usize| one.tokens.get(at).and_then(Token::name);
            one.indent == 0 && names(0) == Some("async") && names(2) == Some(wanted)
        })
    }

    /// Everything that is imported, wherever it stands. An import ends at the next `import` or `from`, so that each token is
    /// looked at once, whatever the file holds.
    pub fn imports(&self) -> BTreeSet<Import> {
        let mut found = BTreeSet::new();
        for Statement { tokens, .. } in &self.statements {
            let is = |at: usize, word: &str| tokens[at].name() == Some(word);
            let keywords: Vec<usize> = (0..tokens.len())
                .filter(|at| is(*at, "import") || is(*at, "from"))
                .collect();
            for (number, at) in keywords.iter().copied().enumerate() {
                if !is(at, "import") {
                    continue;
                }
                let end = keywords.get(number + 1).copied().unwrap_or(tokens.len());
                let parts = tokens[at + 1..end].split(|token| token.is(','));
                let from = number
                    .checked_sub(1)
                    .map(|before| keywords[before])
                    .filter(|before| is(*before, "from"))
                    .and_then(|before| module_of(&tokens[before + 1..at]));
                match from {
                    Some((module, relative)) => {
                        let names = parts
                            .filter_map(|part| part.iter().find(|token| !token.is('('))?.name())
                            .map(str::to_owned)
                            .collect();
                        found.insert(Import {
                            module,
                            relative,
                            names,
                        });
                    }
                    None => found.extend(parts.map(|part| Import {
                        module: dotted(part.iter().take_while(|token| {
                            token.name() != Some("as") && (token.name().is_some() || token.is('.'))
                        })),
                        relative: false,
                        names: Vec::new(),
                    })),
                }
            }
        }
        found
    }

    /// Every text in it, in order.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.statements
            .iter()
            .flat_map(|one| &one.tokens)
            .filter_map(|token| match token {
                Token::Text(text) => Some(text.as_str()),
                Token::Name(_) | Token::Number | Token::Mark(_) => None,
            })
    }

    /// Every word of its names and texts.
    pub fn words(&self) -> BTreeSet<&str> {
        let tokens = self.statements.iter().flat_map(|one| &one.tokens);
        tokens
            .flat_map(|token| match token {
                Token::Name(text) | Token::Text(text) => text
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .collect(),
                Token::Number | Token::Mark(_) => Vec::new(),
            })
            .filter(|word| !word.is_empty())
            .collect()
    }
}

/// The module between a `from` and its `import`.
fn module_of(between: &[Token]) -> Option<(String, bool)> {
    if !between
        .iter()
        .all(|token| token.name().is_some() || token.is('.'))
    {
        return None;
    }
    let relative = between.first().is_some_and(|token| token.is('.'));
    let module = dotted(between.iter().skip_while(|token| token.is('.')));
    Some((module, relative))
}

/// A module's name with its dots. One that is cut ends in `…`, which no module's name can hold.
fn dotted<'a>(tokens: impl Iterator<Item = &'a Token>) -> String {
    let mut module = String::new();
    for part in tokens.map(|token| token.name().unwrap_or(".")) {
        if module.len() + part.len() > MOST_MODULE_BYTES {
            module.push('…');
            break;
        }
        module.push_str(part);
    }
    module
}

/// Whether a text can name a function or a module.
pub fn is_identifier(text: &str) -> bool {
    let mut characters = text.chars();
    characters
        .next()
        .is_some_and(|first| first.is_alphabetic() || first == '_')
        && characters.all(|c| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests;
