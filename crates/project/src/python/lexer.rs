//! Splits Python source into statements and tokens, after the rules of the language's lexical analysis (version 3.12,
//! whose f-strings may hold any text in their braces; sources of earlier versions are read the same way).

use super::{Fault, Source, Statement, Token};

/// Deepest nesting of brackets and f-strings that is followed; deeper source is called faulty.
const DEEPEST: usize = 100;

pub(super) fn read(text: &str) -> Source {
    let mut lexer = Lexer {
        rest: text.strip_prefix('\u{feff}').unwrap_or(text),
        line: 1,
        depth: 0,
        current: Statement::default(),
        statements: Vec::new(),
    };
    let fault = lexer.whole().err();
    lexer.end_statement();
    Source {
        statements: lexer.statements,
        fault,
    }
}

fn fault<T>(line: u64, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault {
        line,
        message: message.into(),
    })
}

/// Where tokens are read up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The line's end, outside brackets.
    Line,
    /// A closing bracket.
    Bracket(char),
    /// The brace that closes an f-string's expression, with the form that may stand before it.
    Expression,
}

struct Lexer<'s> {
    rest: &'s str,
    line: u64,
    depth: usize,
    current: Statement,
    statements: Vec<Statement>,
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let first = self.peek()?;
        self.rest = &self.rest[first.len_utf8()..];
        if first == '\n' {
            self.line += 1;
        }
        Some(first)
    }

    fn skip(&mut self, text: &str) -> bool {
        let found = self.rest.starts_with(text);
        if found {
            for _ in text.chars() {
                self.next();
            }
        }
        found
    }

    fn push(&mut self, token: Token) {
        if self.current.tokens.is_empty() {
            self.current.line = self.line;
        }
        self.current.tokens.push(token);
    }

    fn end_statement(&mut self) {
        let indent = self.current.indent;
        let ended = std::mem::take(&mut self.current);
        if !ended.tokens.is_empty() {
            self.statements.push(ended);
        }
        self.current.indent = indent;
    }

    /// The file: statements line by line.
    fn whole(&mut self) -> Result<(), Fault> {
        loop {
            self.current.indent = self.indent();
            if self.peek().is_none() {
                return Ok(());
            }
            self.until(End::Line)?;
        }
    }

    /// White space at the start of a line; tabs go to the next eighth column.
    fn indent(&mut self) -> usize {
        let mut width = 0;
        loop {
            match self.peek() {
                Some(' ') => width += 1,
                Some('\t') => width = (width / 8 + 1) * 8,
                Some('\u{c}') => width = 0,
                _ => return width,
            }
            self.next();
        }
    }

    /// Tokens up to an end, which is consumed.
    fn until(&mut self, end: End) -> Result<(), Fault> {
        let began = self.line;
        self.depth += 1;
        if self.depth > DEEPEST {
            return fault(began, "brackets are nested too deep");
        }
        loop {
            let Some(first) = self.peek() else {
                if end == End::Line {
                    break;
                }
                return fault(began, "a bracket is not closed");
            };
            match first {
                '\n' => {
                    self.next();
                    if end == End::Line {
                        self.end_statement();
                        break;
                    }
                }
                '#' => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.next();
                    }
                }
                '\\' => {
                    self.next();
                    self.skip("\r");
                    if self.next() != Some('\n') {
                        return fault(self.line, "a backslash outside a text");
                    }
                }
                ';' if end == End::Line => {
                    self.next();
                    self.end_statement();
                }
                '"' | '\'' => self.string("")?,
                '(' | '[' | '{' => {
                    self.next();
                    self.push(Token::Mark(first));
                    let wanted = match first {
                        '(' => ')',
                        '[' => ']',
                        _ => '}',
                    };
                    self.until(End::Bracket(wanted))?;
                    self.push(Token::Mark(wanted));
                }
                ')' | ']' | '}' => {
                    let closes = match end {
                        End::Line => false,
                        End::Bracket(wanted) => wanted == first,
                        End::Expression => first == '}',
                    };
                    if !closes {
                        return fault(self.line, format!("`{first}` closes nothing"));
                    }
                    self.next();
                    break;
                }
                ':' if end == End::Expression => {
                    self.form(began)?;
                    break;
                }
                '$' | '?' | '`' => {
                    return fault(self.line, format!("`{first}` is not Python"));
                }
                c if c.is_alphabetic() || c == '_' => self.word()?,
                c if c.is_ascii_digit() => {
                    while self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_') {
                        self.next();
                    }
                    self.push(Token::Number);
                }
                c => {
                    self.next();
                    if !c.is_whitespace() {
                        self.push(Token::Mark(c));
                    }
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// How an f-string's value is to be written: anything up to the closing brace, with expressions of its own.
    fn form(&mut self, began: u64) -> Result<(), Fault> {
        loop {
            match self.next() {
                Some('}') => return Ok(()),
                Some('{') => self.until(End::Expression)?,
                Some(_) => {}
                None => return fault(began, "a bracket is not closed"),
            }
        }
    }

    /// A name, or the letters before a text.
    fn word(&mut self) -> Result<(), Fault> {
        let end = self
            .rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(self.rest.len());
        let word = self.rest[..end].to_owned();
        self.rest = &self.rest[end..];
        let prefix = word.to_ascii_lowercase();
        let is_prefix = prefix.len() <= 2 && prefix.chars().all(|c| "rbuft".contains(c));
        if is_prefix && matches!(self.peek(), Some('"' | '\'')) {
            return self.string(&prefix);
        }
        self.push(Token::Name(word));
        Ok(())
    }

    /// A text, whose prefix has been read.
    fn string(&mut self, prefix: &str) -> Result<(), Fault> {
        let began = self.line;
        let raw = prefix.contains('r');
        let formatted = prefix.contains(['f', 't']);
        let quote = self.next().unwrap_or('"');
        let triple = self.skip(&String::from_iter([quote, quote]));
        if !triple && self.peek() == Some(quote) && !formatted {
            self.next();
            self.push(Token::Text(String::new()));
            return Ok(());
        }
        let closing = if triple {
            String::from_iter([quote; 3])
        } else {
            quote.to_string()
        };
        let mut text = String::new();
        loop {
            if self.skip(&closing) {
                self.push(Token::Text(text));
                return Ok(());
            }
            let Some(first) = self.next() else {
                return fault(began, "a text is not closed");
            };
            match first {
                '\n' if !triple => return fault(began, "a text is not closed"),
                '\\' if raw => {
                    text.push('\\');
                    text.extend(self.next());
                }
                '\\' => self.escape(&mut text),
                '{' if formatted => {
                    if self.skip("{") {
                        text.push('{');
                        continue;
                    }
                    self.push(Token::Text(std::mem::take(&mut text)));
                    self.push(Token::Mark('('));
                    self.until(End::Expression)?;
                    self.push(Token::Mark(')'));
                }
                c => text.push(c),
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, text: &mut String) {
        let Some(first) = self.next() else { return };
        let digits = match first {
            '\n' => return,
            'n' => return text.push('\n'),
            't' => return text.push('\t'),
            'r' => return text.push('\r'),
            '\\' | '\'' | '"' => return text.push(first),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            '0'..='7' => {
                let octal: String = std::iter::once(first)
                    .chain(self.rest.chars().take(2).take_while(|c| c.is_digit(8)))
                    .collect();
                self.rest = &self.rest[octal.len() - 1..];
                text.extend(u32::from_str_radix(&octal, 8).ok().and_then(char::from_u32));
                return;
            }
            other => {
                text.push('\\');
                text.push(other);
                return;
            }
        };
        let code: String = self
            .rest
            .chars()
            .take(digits)
            .take_while(char::is_ascii_hexdigit)
            .collect();
        self.rest = &self.rest[code.len()..];
        text.extend(u32::from_str_radix(&code, 16).ok().and_then(char::from_u32));
    }
}
