"""Which text can be explained without the right to write, and without values for its parameters?"""

# pglast types every field as optional; what the grammar guarantees is not checked again.
# pyright: reportOptionalMemberAccess=false, reportOptionalIterable=false, reportAttributeAccessIssue=false

from __future__ import annotations

from pglast import ast
from pglast.stream import RawStream

from ooda_dagster.advisor.instantiate import mended
from ooda_dagster.advisor.parsing import parse
from ooda_dagster.advisor.shape import UnreadableStatementError


def explainable(text: str) -> str:
    """The SELECT of a normalised text, without FOR UPDATE, which needs the right to update.

    Raises UnreadableStatementError for what writes, or cannot be read: that is explained in the clone, or not at all.
    """
    sql = mended(text)
    statements = parse(sql)
    node = statements[0].stmt if len(statements) == 1 else None
    if not isinstance(node, ast.SelectStmt) or node.intoClause is not None:
        raise UnreadableStatementError("it does more than read")
    if any(not isinstance(cte.ctequery, ast.SelectStmt) for cte in (node.withClause.ctes if node.withClause else ())):
        raise UnreadableStatementError("it does more than read")
    if not node.lockingClause:
        return sql.strip().rstrip(";")
    node.lockingClause = None
    return RawStream()(node)
