//! The pages of `docs/tools` and the tests behind them are one source: a page's command lines are read from it and run, and its excerpts
//! of programs are held to be the programs' own text. So no page shows a line that was not tried.
//!
//! A fenced block says what it is in a comment on the line above it:
//!
//! - `<!-- run: NAME -->`: shell lines that the tool's end-to-end part runs, by this name;
//! - `<!-- from: PATH NAME -->`: the lines of a file of the tree between `page: NAME` and `page end`;
//! - `<!-- not run: WHY -->`: lines that no test can run, and why.

/// Where the pages are, below the root.
pub const DIRECTORY: &str = "docs/tools/";

/// What a block of a page is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Shell lines that a test runs, by their name.
    Run(String),
    /// An excerpt: the file's path below the root, and the name of its lines there.
    From(String, String),
    /// Not run, and the reason.
    NotRun(String),
}

/// A fenced block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// What it is.
    pub kind: Kind,
    /// The lines between the fences, each with its end.
    pub text: String,
    /// The number of the line where it opens, from 1.
    pub line: usize,
}

/// The blocks of a page, in their order.
///
/// # Errors
/// Where a block does not say what it is, or does not end; with the number of its line.
pub fn blocks(page: &str) -> Result<Vec<Block>, (usize, String)> {
    let mut blocks = Vec::new();
    let mut before = "";
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.starts_with("```") {
            let number = number + 1;
            let kind = kind(before).ok_or((number, "the block does not say what it is".to_owned()))?;
            let mut text = String::new();
            loop {
                match lines.next() {
                    None => return Err((number, "the block does not end".to_owned())),
                    Some((_, "```")) => break,
                    Some((_, line)) => text.extend([line, "\n"]),
                }
            }
            blocks.push(Block { kind, text, line: number });
        }
        before = line;
    }
    Ok(blocks)
}

/// What the comment above a block says of it.
fn kind(comment: &str) -> Option<Kind> {
    let said = comment.strip_prefix("<!-- ")?.strip_suffix(" -->")?;
    let (what, of) = said.split_once(": ")?;
    match what {
        "run" => Some(Kind::Run(of.to_owned())),
        "from" => of.split_once(' ').map(|(path, name)| Kind::From(path.to_owned(), name.to_owned())),
        "not run" => Some(Kind::NotRun(of.to_owned())),
        _ => None,
    }
}

/// The lines of a program that a page may show: those between a comment that ends in `page: NAME` and one that ends in `page end`, moved to
/// the left as far as they go together.
pub fn excerpt(program: &str, name: &str) -> Option<String> {
    let opening = format!("page: {name}");
    let mut lines = program.lines().skip_while(|line| comment(line) != Some(opening.as_str())).skip(1).peekable();
    lines.peek()?;
    let mut found: Vec<&str> = Vec::new();
    loop {
        let line = lines.next()?;
        if comment(line) == Some("page end") {
            break;
        }
        found.push(line);
    }
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let shift = found.iter().filter(|line| !line.trim().is_empty()).map(indent).min().unwrap_or(0);
    Some(found.iter().flat_map(|line| [line.get(shift..).unwrap_or("").trim_end(), "\n"]).collect())
}

/// The names of the lines of a program that are marked for a page, with the numbers of the lines that open them, from 1.
pub fn excerpts(program: &str) -> impl Iterator<Item = (usize, &str)> {
    program.lines().enumerate().filter_map(|(number, line)| Some((number + 1, comment(line)?.strip_prefix("page: ")?)))
}

/// The words of a line that is a comment and nothing else, in the languages of our programs.
fn comment(line: &str) -> Option<&str> {
    let line = line.trim();
    line.strip_prefix("// ").or_else(|| line.strip_prefix("# "))
}

#[cfg(test)]
mod tests;
