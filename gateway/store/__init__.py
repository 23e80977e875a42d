"""The database: schema, migrations, and one module per aggregate. SQLAlchemy lives only here."""
