//! HELP: what each command and statement is for, and its form.

/// A topic: its name, its form, and what it does.
struct Topic {
    name: &'static str,
    form: &'static str,
    text: &'static str,
}

const fn topic(name: &'static str, form: &'static str, text: &'static str) -> Topic {
    Topic { name, form, text }
}

/// Commands of the shell.
const COMMANDS: &[Topic] = &[
    topic("CAPTURE", "CAPTURE ['file' | OFF]", "Results of statements go to the end of a file and not to the screen."),
    topic("CLEAR", "CLEAR | CLS", "Clears the screen."),
    topic(
        "CONSISTENCY",
        "CONSISTENCY [ONE | TWO | THREE | QUORUM | ALL]",
        "Shows or sets how many replicas must answer a statement.",
    ),
    topic(
        "COPY",
        "COPY [keyspace.]table [(column, ...)] FROM 'file, ...' | STDIN [WITH option = value AND ...]\n\
         COPY [keyspace.]table [(column, ...)] TO 'file' | STDOUT [WITH option = value AND ...]",
        "Loads a table from files of comma-separated values, or writes it to one. Options of both: BOOLSTYLE,\n\
         CONFIGFILE, DATETIMEFORMAT, DECIMALSEP, DELIMITER, ENCODING, ESCAPE, HEADER, MAXATTEMPTS, MAXREQUESTS, NULL,\n\
         NUMPROCESSES, QUOTE, RATEFILE, REPORTFREQUENCY, THOUSANDSSEP.\n\
         Of FROM: CHUNKSIZE, ERRFILE, INGESTRATE, MAXBATCHSIZE, MAXINSERTERRORS, MAXPARSEERRORS, MAXROWS,\n\
         MINBATCHSIZE, PREPAREDSTATEMENTS, SKIPCOLS, SKIPROWS, TTL. Rows that cannot be loaded go to ERRFILE.\n\
         Of TO: BEGINTOKEN, DOUBLEPRECISION, ENDTOKEN, FLOATPRECISION, MAXOUTPUTSIZE, PAGESIZE, PAGETIMEOUT.",
    ),
    topic(
        "DESCRIBE",
        "DESCRIBE CLUSTER | KEYSPACES | TABLES | TYPES | FUNCTIONS | AGGREGATES | [FULL] SCHEMA\n\
         DESCRIBE [ONLY] KEYSPACE [name] | TABLE name | INDEX name | TYPE name | FUNCTION name | AGGREGATE name\n\
         DESCRIBE MATERIALIZED VIEW name | name",
        "Shows the nodes, names, or the statements that create something.",
    ),
    topic("ELAPSED", "ELAPSED [ON | OFF]", "Shows how long each statement took."),
    topic("EXIT", "EXIT | QUIT", "Ends the shell. So does Ctrl-D."),
    topic("EXPAND", "EXPAND [ON | OFF]", "Shows the columns of a row below each other."),
    topic("HELP", "HELP [topic] | ?", "Lists the topics, or explains one."),
    topic("HISTORY", "HISTORY [n]", "Shows the last n entries that were typed; all without a number."),
    topic("LOGIN", "LOGIN user [password]", "Not supported: the server does not authenticate users yet."),
    topic("PAGING", "PAGING [ON | OFF | rows]", "Shows or sets how many rows are asked for at a time."),
    topic(
        "SERIAL CONSISTENCY",
        "SERIAL CONSISTENCY [level]",
        "Shows or sets which replicas decide on conditional statements: SERIAL, those of all data centres, or\n\
         LOCAL_SERIAL, those of the node's own.",
    ),
    topic(
        "SHOW",
        "SHOW VERSION | HOST | REPLICAS token [keyspace]",
        "Shows the versions, the node that was connected to, or the nodes that hold a token. (SHOW SESSION is not\n\
         supported: the server does not trace requests yet.)",
    ),
    topic("SOURCE", "SOURCE 'file'", "Executes the commands and statements of a file."),
    topic("TRACING", "TRACING [ON|OFF]", "Whether what is done for each statement is shown below its result."),
];

/// Statements of CQL.
const STATEMENTS: &[Topic] = &[
    topic(
        "ALTER KEYSPACE",
        "ALTER KEYSPACE [IF EXISTS] name WITH replication = {'class': ..., ...} [AND durable_writes = true]",
        "Changes how a keyspace is replicated.",
    ),
    topic(
        "ALTER TABLE",
        "ALTER TABLE [IF EXISTS] name ADD column type [, ...] | DROP column [, ...] | RENAME a TO b\n    \
         | WITH option = value",
        "Adds or drops columns, renames those of the primary key, or changes options.",
    ),
    topic("ALTER TYPE", "ALTER TYPE name ADD field type | RENAME a TO b", "Changes a user-defined type."),
    topic(
        "BATCH",
        "BEGIN [UNLOGGED | COUNTER] BATCH [USING TIMESTAMP micros]\n    statement; ...\nAPPLY BATCH",
        "Executes several INSERT, UPDATE and DELETE as one.",
    ),
    topic(
        "CREATE INDEX",
        "CREATE INDEX [IF NOT EXISTS] [name] ON table (column | KEYS(c) | VALUES(c) | ENTRIES(c) | FULL(c))",
        "Makes a secondary index.",
    ),
    topic(
        "CREATE KEYSPACE",
        "CREATE KEYSPACE [IF NOT EXISTS] name WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}",
        "Makes a keyspace. The other class is NetworkTopologyStrategy, with the replicas of each data centre.",
    ),
    topic(
        "CREATE TABLE",
        "CREATE TABLE [IF NOT EXISTS] name\n    \
         (column type [STATIC], ..., PRIMARY KEY ((partition, ...), clustering, ...))\n    \
         [WITH CLUSTERING ORDER BY (column DESC, ...) AND option = value ...]",
        "Makes a table. The partition key says where rows are stored, the clustering columns in which order.",
    ),
    topic("CREATE TYPE", "CREATE TYPE [IF NOT EXISTS] name (field type, ...)", "Makes a user-defined type."),
    topic(
        "DELETE",
        "DELETE [column, ...] FROM table [USING TIMESTAMP micros] WHERE key = value ... [IF EXISTS | IF condition ...]",
        "Deletes columns, rows, ranges of rows or a partition.",
    ),
    topic(
        "DROP",
        "DROP KEYSPACE | TABLE | TYPE | INDEX [IF EXISTS] name",
        "Removes a keyspace, table, type or index, with all that is in it.",
    ),
    topic(
        "INSERT",
        "INSERT INTO table (column, ...) VALUES (value, ...) [IF NOT EXISTS]\n    \
         [USING TTL seconds AND TIMESTAMP micros]\n\
         INSERT INTO table JSON 'object' [DEFAULT NULL | UNSET]",
        "Writes the columns of a row, whether it exists or not.",
    ),
    topic(
        "SELECT",
        "SELECT [JSON | DISTINCT] * | selector [AS name], ... FROM table [WHERE ...] [GROUP BY ...] \
         [ORDER BY ...]\n    \
         [PER PARTITION LIMIT n] [LIMIT n] [ALLOW FILTERING]",
        "Reads rows.",
    ),
    topic("TRUNCATE", "TRUNCATE [TABLE] table", "Removes all rows of a table."),
    topic(
        "TYPES",
        "ascii bigint blob boolean counter date decimal double duration float inet int smallint text time timestamp\n\
         timeuuid tinyint uuid varchar varint list<t> set<t> map<k, v> tuple<t, ...> vector<t, n> frozen<t>",
        "The types of columns, and the names of user-defined types.",
    ),
    topic(
        "UPDATE",
        "UPDATE table [USING TTL seconds AND TIMESTAMP micros] SET column = value, ... WHERE key = value ... [IF ...]",
        "Writes columns of a row, whether it exists or not; adds to counters and collections.",
    ),
    topic("USE", "USE keyspace", "Sets the keyspace of names that have none."),
];

/// The text of HELP, or of HELP with a topic.
///
/// # Errors
/// When there is no such topic.
pub(crate) fn help(wanted: Option<&str>) -> Result<String, String> {
    let Some(wanted) = wanted else {
        return Ok(format!(
            "Statements end with a semicolon, and may go on over several lines. Tab completes.\n\n\
             Commands of the shell:\n{}\nStatements of CQL, and other topics:\n{}\nHELP topic explains one. What this \
             version does not have yet, the server refuses by name.\n",
            names(COMMANDS),
            names(STATEMENTS)
        ));
    };
    let wanted = wanted.to_ascii_uppercase();
    let all = || COMMANDS.iter().chain(STATEMENTS);
    let starts = |topic: &&Topic| topic.name == wanted || topic.name.starts_with(&format!("{wanted} "));
    let mut found: Vec<&Topic> = all().filter(starts).collect();
    // HELP DROP TABLE is in DROP.
    if found.is_empty() {
        found = all().filter(|topic| wanted.starts_with(&format!("{} ", topic.name))).collect();
    }
    if found.is_empty() {
        return Err(format!("there is no help on '{wanted}'; HELP lists the topics"));
    }
    Ok(found.iter().map(|topic| format!("{}\n\n{}\n\n", topic.form, topic.text)).collect())
}

/// The names of topics, for completion.
pub(crate) fn topics() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().chain(STATEMENTS).map(|topic| topic.name)
}

fn names(topics: &[Topic]) -> String {
    let mut text = String::new();
    for line in topics.chunks(5) {
        let line: String = line.iter().map(|topic| format!("  {:18}", topic.name)).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command;
    use crate::copy::{CopyOptions, Direction};

    #[test]
    fn every_command_has_a_topic() {
        let same = |word: &str| {
            match word {
                "?" => "HELP",
                "CLS" => "CLEAR",
                "DESC" => "DESCRIBE",
                "QUIT" => "EXIT",
                "SERIAL" => "SERIAL CONSISTENCY",
                other => other,
            }
            .to_owned()
        };
        for word in command::WORDS {
            assert!(topics().any(|topic| topic == same(word)), "{word}");
        }
        for name in CopyOptions::names(Direction::From).chain(CopyOptions::names(Direction::To)) {
            assert!(help(Some("copy")).unwrap().contains(name), "{name}");
        }
    }

    #[test]
    fn topics_are_found_in_any_case_and_by_their_first_word() {
        assert!(help(None).unwrap().contains("CREATE TABLE"));
        assert!(help(Some("create")).unwrap().matches("IF NOT EXISTS").count() >= 4);
        assert!(help(Some("create table")).unwrap().starts_with("CREATE TABLE"));
        assert!(help(Some("drop table")).unwrap().starts_with("DROP"));
        assert!(help(Some("nonsense")).unwrap_err().contains("NONSENSE"));
    }
}
