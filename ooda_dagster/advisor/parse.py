"""Takes a statement apart into its Shape.

Works on PostgreSQL's own parse tree (pglast). Names are resolved against the catalogue, scope by scope; what cannot be
resolved (views, functions, system tables) is named and skipped, never guessed.
"""

# pglast types every field as optional; what the grammar guarantees is not checked again.
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false, reportOptionalIterable=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Sequence

from pglast import ast
from pglast.enums import CmdType, SortByDir, SortByNulls

from ooda_dagster.advisor.conditions import Conditions
from ooda_dagster.advisor.parsing import parse
from ooda_dagster.advisor.shape import Order, Parameter, Shape, UnreadableStatementError, Use
from ooda_dagster.advisor.tree import Scope, bare, parameter_nodes, target_of
from ooda_dagster.core.catalogue import Catalogue, Table
from ooda_dagster.core.fingerprint import kind_of


def read_shape(text: str, catalogue: Catalogue) -> Shape:
    """Take a normalised statement apart. Raises UnreadableStatementError."""
    statements = parse(text)
    if len(statements) != 1:
        raise UnreadableStatementError(f"it holds {'more than one' if statements else 'no'} statement")
    shape = Shape(text, kind_of(text))
    try:
        _Reader(catalogue, shape).statement(statements[0].stmt)
    except RecursionError:
        raise UnreadableStatementError("it is nested too deeply") from None
    return shape


class _Reader(Conditions):
    def __init__(self, catalogue: Catalogue, shape: Shape) -> None:
        super().__init__(shape)
        self._catalogue = catalogue
        self._ctes: list[set[str]] = []

    # ------------------------------------------------------------------ statements

    def statement(self, node: ast.Node, outer: Scope | None = None) -> None:
        """Read a statement of any kind, also as a common table expression."""
        clause = getattr(node, "withClause", None)
        names: set[str] = set()
        self._ctes.append(names)
        for cte in clause.ctes if clause else ():
            if clause.recursive:
                names.add(cte.ctename)
            self.statement(cte.ctequery, outer)
            names.add(cte.ctename)  # only from here on: `with t as (select ... from t)` reads the table
        reader = {
            "SelectStmt": self._select,
            "InsertStmt": self._insert,
            "UpdateStmt": self._update,
            "DeleteStmt": self._delete,
            "MergeStmt": self._merge,
        }.get(type(node).__name__)
        if reader:
            reader(node, outer)
        else:
            self._inner(node, Scope(outer=outer))
        self._ctes.pop()

    def _select(self, node: ast.SelectStmt, outer: Scope | None) -> None:
        if node.larg is not None:
            self.statement(node.larg, outer)
            self.statement(node.rarg, outer)
            self._limit(node)
            self._inner(node.sortClause, Scope(outer=outer))
            return
        scope = Scope(outer=outer)
        for item in node.fromClause or ():
            self._from(item, scope)
        self._condition(node.whereClause, scope)
        self._condition(node.havingClause, scope)
        for part in (node.targetList, node.valuesLists, node.distinctClause, node.windowClause):
            self._inner(part, scope)
        self._limit(node)
        self._order(node, scope)
        self._group(node, scope)

    def _insert(self, node: ast.InsertStmt, outer: Scope | None) -> None:
        table = self._table(node.relation)
        self._shape.written = self._shape.written or table
        if node.selectStmt is not None:
            if table is not None:
                self._insert_parameters(node, table)
            self.statement(node.selectStmt, outer)
        if node.onConflictClause is not None:
            scope = Scope({table.name: Use(table, table.name)} if table else {}, outer)
            self._inner(node.onConflictClause, scope)

    def _insert_parameters(self, node: ast.InsertStmt, table: Table) -> None:
        columns = [c.name for c in node.cols] if node.cols else list(table.columns)
        for row in getattr(node.selectStmt, "valuesLists", None) or ():
            for name, value in zip(columns, row, strict=False):
                self._parameter(value, table, name, "=")

    def _update(self, node: ast.UpdateStmt, outer: Scope | None) -> None:
        scope = Scope(outer=outer)
        use = self._changed(node.relation, scope)
        for item in node.fromClause or ():
            self._from(item, scope)
        if use is not None:
            names = frozenset(t.name for t in node.targetList or () if t.name)
            self._shape.set_columns |= names
            for target in node.targetList or ():
                self._parameter(target.val, use.table, target.name, "=")
        self._inner(node.targetList, scope)
        self._condition(node.whereClause, scope)

    def _delete(self, node: ast.DeleteStmt, outer: Scope | None) -> None:
        scope = Scope(outer=outer)
        self._changed(node.relation, scope)
        for item in node.usingClause or ():
            self._from(item, scope)
        self._condition(node.whereClause, scope)

    def _merge(self, node: ast.MergeStmt, outer: Scope | None) -> None:
        scope = Scope(outer=outer)
        self._changed(node.relation, scope)
        self._from(node.sourceRelation, scope)
        self._condition(node.joinCondition, scope)
        for clause in node.mergeWhenClauses or ():
            if clause.commandType == CmdType.CMD_UPDATE:
                self._shape.set_columns |= {t.name for t in clause.targetList or () if t.name}
        self._inner(node.mergeWhenClauses, scope)

    def _changed(self, relation: ast.RangeVar, scope: Scope) -> Use | None:
        table = self._table(relation)
        alias = relation.alias.aliasname if relation.alias else relation.relname
        if table is None:
            scope.uses[alias] = None
            return None
        self._shape.written = self._shape.written or table
        use = Use(table, alias)
        self._shape.uses.append(use)
        scope.uses[alias] = use
        return use

    # ------------------------------------------------------------------ FROM

    def _table(self, node: ast.RangeVar) -> Table | None:
        if node.schemaname is None and any(node.relname in names for names in self._ctes):
            return None
        table = self._catalogue.find(node.relname, node.schemaname)
        if table is None and (node.schemaname or "") not in ("pg_catalog", "information_schema"):
            self._shape.unresolved.add(".".join(p for p in (node.schemaname, node.relname) if p))
        return table

    def _from(self, item: ast.Node, scope: Scope) -> None:
        if isinstance(item, ast.RangeVar):
            table = self._table(item)
            alias = item.alias.aliasname if item.alias else item.relname
            use = Use(table, alias) if table else None
            if use:
                self._shape.uses.append(use)
            scope.uses[alias] = use
        elif isinstance(item, ast.JoinExpr):
            self._from(item.larg, scope)
            left = [use for use in scope.uses.values() if use is not None]
            self._from(item.rarg, scope)
            right = [use for use in scope.uses.values() if use is not None and not any(use is u for u in left)]
            names = [name.sval for name in item.usingClause or ()]
            if item.isNatural:
                names = sorted({n for u in left for n in u.table.columns} & {n for u in right for n in u.table.columns})
            for use in (*left, *right):
                use.join.update(name for name in names if name in use.table.columns)
            self._condition(item.quals, scope)
        elif isinstance(item, ast.RangeSubselect):
            # A lateral subselect sees its siblings; an ordinary one does not refer to them, so seeing does no harm.
            self.statement(item.subquery, scope)
            scope.uses[item.alias.aliasname if item.alias else f"?{len(scope.uses)}"] = None
        else:
            alias = getattr(getattr(item, "alias", None), "aliasname", None) or f"?{len(scope.uses)}"
            scope.uses[alias] = None
            self._inner(item, scope)

    # ------------------------------------------------------------------ order, group, limit

    def _limit(self, node: ast.SelectStmt) -> None:
        for value, role in ((node.limitCount, "limit"), (node.limitOffset, "offset")):
            for parameter in parameter_nodes(value):
                self._shape.parameters[parameter.number] = Parameter(parameter.number, role=role)

    def _order(self, node: ast.SelectStmt, scope: Scope) -> None:
        keys: list[Order] = []
        owner: Use | None = None
        for item in node.sortClause or ():
            found = scope.column(bare(target_of(item.node, node.targetList)))
            if found is None or (owner is not None and found[0] is not owner):
                break  # a leading part in the index's order is all that an index can give
            if item.sortby_dir == SortByDir.SORTBY_USING:
                break
            owner = found[0]
            descending = item.sortby_dir == SortByDir.SORTBY_DESC
            nulls = {SortByNulls.SORTBY_NULLS_FIRST: True, SortByNulls.SORTBY_NULLS_LAST: False}.get(item.sortby_nulls)
            keys.append(Order(found[1], descending, nulls))
        self._inner(node.sortClause, scope)
        if owner is not None and scope.local(owner):
            owner.order = tuple(keys)
            owner.limited = node.limitCount is not None
        elif not node.sortClause and not node.groupClause:
            self._extreme(node.targetList, scope)

    def _extreme(self, targets: Sequence[ast.ResTarget] | None, scope: Scope) -> None:
        """`select max(placed)`: the planner reads one end of an index, as for ORDER BY ... LIMIT 1."""
        value = targets[0].val if targets and len(targets) == 1 else None
        while isinstance(value, (ast.TypeCast, ast.CoalesceExpr)):
            value = value.arg if isinstance(value, ast.TypeCast) else value.args[0]
        if not isinstance(value, ast.FuncCall) or value.funcname[-1].sval not in ("min", "max") or value.over:
            return
        found = scope.column(value.args[0]) if value.args and len(value.args) == 1 else None
        if found and scope.local(found[0]):
            found[0].order = (Order(found[1], False, None),)
            found[0].limited = True

    def _group(self, node: ast.SelectStmt, scope: Scope) -> None:
        """GROUP BY, or what a DISTINCT tells apart. A name is a column first, then what the list of results names."""
        clause = node.groupClause
        if not clause and node.distinctClause:
            clause = [item for item in node.distinctClause if item is not None] or [t.val for t in node.targetList]
        found = [scope.column(bare(i)) or scope.column(bare(target_of(i, node.targetList))) for i in clause or ()]
        owners = {id(f[0]): f[0] for f in found if f}
        if found and all(found) and len(owners) == 1:
            next(iter(owners.values())).group = tuple(dict.fromkeys(f[1] for f in found if f))
        self._inner(clause, scope)
