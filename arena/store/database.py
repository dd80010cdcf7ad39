"""Opening a database: SQLite for one machine, PostgreSQL for several, and migrations to the newest schema."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Table, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session

from arena.contracts import InvalidInput

BUSY_SECONDS = 60.0
"""How long a SQLite writer waits for another one before it gives up."""
AWAY = (OperationalError, InterfaceError)
"""What is raised while a database does not answer, or when it hangs up. It may come back."""
MOST_PARAMETERS = 30_000
MIGRATION_LOCK = 0x647265616D
"""PostgreSQL advisory lock under which migrations run."""


class Database:
    """Sessions on one database. SQLite runs in WAL mode, and a writer takes its lock when it begins.

    A transaction that begins as a reader and then writes fails at once on SQLite when another one wrote
    in between, whatever the busy timeout: hence `read` and `write`, and BEGIN IMMEDIATE in the latter.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(_parse(url))
        self._writer = self._engine.execution_options(dreamarena_write=True)
        self._joint = threading.local()

    @property
    def dialect(self) -> str:
        return self._engine.dialect.name

    @contextmanager
    def read(self) -> Iterator[Session]:
        if (joint := self._joined()) is not None:
            yield joint
            return
        with Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: committed at the end of the block, rolled back when it raises."""
        if (joint := self._joined()) is not None:
            yield joint
            joint.flush()
            return
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def together(self) -> Iterator[None]:
        """Whatever this thread reads and writes within the block is one transaction: all of it is there, or none.

        For what belongs together, and nothing that takes long: on SQLite nobody else writes meanwhile.
        """
        if self._joined() is not None:
            yield
            return
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            self._joint.session = session
            try:
                yield
            finally:
                self._joint.session = None

    def _joined(self) -> Session | None:
        """The session of the block that this thread is in, if it is in one."""
        session: Session | None = getattr(self._joint, "session", None)
        if session is not None:
            session.expire_all()  # Rows were changed past it, by statements.
        return session

    def now(self, session: Session) -> float:
        """Seconds since the epoch (UTC) by the one clock that all users of this database share."""
        if self.dialect != "postgresql":
            return time.time()
        return float(session.scalar(text("SELECT extract(epoch FROM clock_timestamp())")) or 0.0)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A plain connection in a writing transaction, for migrations and their tests."""
        with self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        self._engine.dispose()


def open_database(url: str) -> Database:
    """Open the database at `url`, bringing its tables to the newest migration first.

    Raises `InvalidInput` where the URL cannot be used, or where a newer dreamarena migrated it.
    """
    database = Database(url)
    try:
        migrate(database)
    except OperationalError as error:
        database.close()
        raise InvalidInput(f"cannot open the database {_shown(url)}: {error.orig}") from error
    return database


def migrate(database: Database) -> None:
    """`alembic upgrade head`, by one process at a time."""
    config = migration_config()
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head()
    with database.connect() as connection:
        if database.dialect == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        current = MigrationContext.configure(connection).get_current_revision()
        if current == head:
            return
        if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
            raise InvalidInput(
                f"the database is at migration {current}, which this dreamarena does not know: update it"
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def migration_config() -> Config:
    """Alembic's configuration without an ini file: the migrations ship inside the package."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def insert_new(session: Session, table: type[Any], values: Mapping[str, Any]) -> bool:
    """Insert a row unless one with its key exists. Returns whether it was inserted."""
    statement = _insert(session, table).values(**values).on_conflict_do_nothing().returning(text("1"))
    return session.execute(statement).first() is not None


def upsert(session: Session, table: type[Any], values: Mapping[str, Any], keep: frozenset[str] = frozenset()) -> None:
    """Insert a row, or replace the one with its primary key, except for the columns in `keep`."""
    keys = [column.name for column in table.__table__.primary_key]
    changes = {name: value for name, value in values.items() if name not in keys and name not in keep}
    session.execute(_insert(session, table).values(**values).on_conflict_do_update(index_elements=keys, set_=changes))


def in_parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """What a query may name at once: PostgreSQL takes 65,535 parameters, SQLite 32,766."""
    for start in range(0, len(keys), MOST_PARAMETERS):
        yield keys[start : start + MOST_PARAMETERS]


def _insert(session: Session, table: type[Any]) -> Any:
    target: Table = table.__table__
    return postgresql.insert(target) if session.get_bind().dialect.name == "postgresql" else sqlite.insert(target)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidInput(
            f"{url!r} is not a database URL, e.g. sqlite:///arena.db or postgresql://host/name"
        ) from error
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() != "sqlite":
        raise InvalidInput(f"a database must be sqlite or postgresql, not {parsed.get_backend_name()!r}")
    if not parsed.database or parsed.database == ":memory:":
        raise InvalidInput("an SQLite database must be a file, because several processes share it")
    return parsed


def _shown(url: str) -> str:
    return _parse(url).render_as_string(hide_password=True)


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "postgresql":
        return create_engine(url, pool_pre_ping=True)
    _prepare_sqlite_file(Path(str(url.database)))
    try:
        engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    except NoSuchModuleError as error:
        raise InvalidInput(f"unknown SQLite driver in {url}") from error
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite_file(path: Path) -> None:
    """Make the folder and switch the file to WAL, which persists in it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
    except (OSError, sqlite3.OperationalError) as error:
        raise InvalidInput(f"cannot open the database file {path}: {error}") from error
    try:
        _patiently(lambda: connection.execute("PRAGMA journal_mode=WAL").fetchone())
    except sqlite3.DatabaseError as error:
        raise InvalidInput(f"cannot use {path} as an SQLite database: {error}") from error
    finally:
        connection.close()


def _patiently(change: Callable[[], Any]) -> None:
    """The switch to WAL does not honour the busy timeout, so processes that start together must retry."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            change()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # sqlite3 must not begin transactions by itself: it would begin them as readers.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys=ON")
    # Votes and finished jobs must outlive a power cut.
    connection.execute("PRAGMA synchronous=FULL")


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("dreamarena_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def schema_state(url: str) -> tuple[str | None, str]:
    """The migration that the database at `url` is at (None for an empty one), and the newest one; nothing is changed.

    Raises `InvalidInput` where the database does not answer. An SQLite file that is not there yet is at None.
    """
    head = str(ScriptDirectory.from_config(migration_config()).get_current_head())
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).exists():
        return None, head
    engine = create_engine(parsed)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision(), head
    except DatabaseError as error:
        raise InvalidInput(f"cannot open the database {_shown(url)}: {error.orig}") from error
    finally:
        engine.dispose()
