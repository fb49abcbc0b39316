-- The audit trail as tables. Everything here is copied from the log, which stays the truth: `ephor audit-db check`
-- holds the one against the other, `ephor audit-db rebuild` writes it anew. Every statement may be run again.

CREATE TABLE IF NOT EXISTS governance_events (
    seq            bigint           PRIMARY KEY,
    event_id       uuid             NOT NULL UNIQUE,
    stream         text             NOT NULL,
    version        bigint           NOT NULL,
    type           text             NOT NULL,
    schema_version integer          NOT NULL,
    trace_id       text,
    cause          bigint,
    occurred_at    timestamptz      NOT NULL,
    recorded_at    timestamptz      NOT NULL,
    decided_at     timestamptz      NOT NULL,
    envelope       jsonb            NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS governance_events_stream ON governance_events (stream, version);
CREATE INDEX IF NOT EXISTS governance_events_trace ON governance_events (trace_id, seq) WHERE trace_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS governance_events_type ON governance_events (type, recorded_at);
CREATE INDEX IF NOT EXISTS governance_events_time ON governance_events (recorded_at);

COMMENT ON TABLE governance_events IS 'Every recorded event, one row each, in the order of the log.';
COMMENT ON COLUMN governance_events.seq IS 'Position in the whole log, from 1, without gaps.';
COMMENT ON COLUMN governance_events.event_id IS 'Unique; derived from the hash of the commit that the event stands in.';
COMMENT ON COLUMN governance_events.stream IS 'The strategy that it concerns, or "system".';
COMMENT ON COLUMN governance_events.version IS 'Position in the stream, from 1, without gaps.';
COMMENT ON COLUMN governance_events.type IS 'What happened: DecisionMade, TradeClosed and so on.';
COMMENT ON COLUMN governance_events.schema_version IS 'Schema version of the recorded bytes.';
COMMENT ON COLUMN governance_events.trace_id IS 'Ties order, decision, token and trade together.';
COMMENT ON COLUMN governance_events.cause IS 'The seq of the event that it follows from.';
COMMENT ON COLUMN governance_events.occurred_at IS 'The source''s time, to the microsecond; the envelope has the nanoseconds.';
COMMENT ON COLUMN governance_events.recorded_at IS 'The governor''s time of the record, never going back.';
COMMENT ON COLUMN governance_events.decided_at IS 'The time that the rules were given.';
COMMENT ON COLUMN governance_events.envelope IS 'The whole event as `ephor events --json` prints it; decimals are text.';

CREATE TABLE IF NOT EXISTS governance_logs (
    seq               bigint           PRIMARY KEY,
    event_id          uuid             NOT NULL UNIQUE,
    trace_id          text,
    strategy_id       text             NOT NULL,
    version           bigint           NOT NULL,
    symbol            text             NOT NULL,
    venue             text,
    order_id          text             NOT NULL,
    side              text             NOT NULL,
    qty               numeric          NOT NULL,
    price             numeric,
    notional          numeric,
    currency          text,
    reduce_only       boolean          NOT NULL,
    action            text             NOT NULL,
    sizing_multiplier double precision NOT NULL,
    execution         text             NOT NULL,
    maturity_level    text             NOT NULL,
    impact_tier       text             NOT NULL,
    health_score      double precision NOT NULL,
    decided_by        text             NOT NULL,
    reason            text,
    policy            text             NOT NULL,
    details           jsonb            NOT NULL,
    decision_at       timestamptz      NOT NULL,
    created_at        timestamptz      NOT NULL
);
CREATE INDEX IF NOT EXISTS governance_logs_trace ON governance_logs (trace_id) WHERE trace_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS governance_logs_order ON governance_logs (order_id);
CREATE INDEX IF NOT EXISTS governance_logs_strategy ON governance_logs (strategy_id, decision_at);
CREATE INDEX IF NOT EXISTS governance_logs_symbol ON governance_logs (symbol, decision_at);
CREATE INDEX IF NOT EXISTS governance_logs_action ON governance_logs (action, decision_at);
CREATE INDEX IF NOT EXISTS governance_logs_time ON governance_logs (decision_at);

COMMENT ON TABLE governance_logs IS 'Every decision on an order, one row each.';
COMMENT ON COLUMN governance_logs.seq IS 'The decision''s position in the log: governance_events has the whole event.';
COMMENT ON COLUMN governance_logs.event_id IS 'As in governance_events.';
COMMENT ON COLUMN governance_logs.trace_id IS 'Ties order, decision, token and trade together.';
COMMENT ON COLUMN governance_logs.strategy_id IS 'Whose order it was.';
COMMENT ON COLUMN governance_logs.version IS 'Position in the strategy''s stream.';
COMMENT ON COLUMN governance_logs.symbol IS 'What was to be traded.';
COMMENT ON COLUMN governance_logs.venue IS 'Where, if the engine said.';
COMMENT ON COLUMN governance_logs.order_id IS 'The engine''s id of the order.';
COMMENT ON COLUMN governance_logs.side IS 'Which way.';
COMMENT ON COLUMN governance_logs.qty IS 'How much was asked for, in the instrument''s units; exact.';
COMMENT ON COLUMN governance_logs.price IS 'Limit price, or the last price known; exact.';
COMMENT ON COLUMN governance_logs.notional IS 'The engine''s own figure, in currency; exact.';
COMMENT ON COLUMN governance_logs.currency IS 'What price and notional are counted in.';
COMMENT ON COLUMN governance_logs.reduce_only IS 'Whether it could only make a position smaller.';
COMMENT ON COLUMN governance_logs.action IS 'The answer: allow, reduce_size, block, demote, pause, kill.';
COMMENT ON COLUMN governance_logs.sizing_multiplier IS 'How much of the order might go out, 0 to 1.';
COMMENT ON COLUMN governance_logs.execution IS 'Where it might go: none, paper, live, position.';
COMMENT ON COLUMN governance_logs.maturity_level IS 'The strategy''s level, after a demotion in the same commit.';
COMMENT ON COLUMN governance_logs.impact_tier IS 'The order''s impact.';
COMMENT ON COLUMN governance_logs.health_score IS 'The strategy''s health, 0 to 1.';
COMMENT ON COLUMN governance_logs.decided_by IS 'The component whose verdict decided.';
COMMENT ON COLUMN governance_logs.reason IS 'The code of that verdict; details has its numbers.';
COMMENT ON COLUMN governance_logs.policy IS 'The policy that it was made under.';
COMMENT ON COLUMN governance_logs.details IS 'The order as it was asked about, and every component''s verdict.';
COMMENT ON COLUMN governance_logs.decision_at IS 'When it was decided, to the microsecond.';
COMMENT ON COLUMN governance_logs.created_at IS 'When its record was made in the log.';

CREATE TABLE IF NOT EXISTS maturity_transitions (
    seq             bigint           PRIMARY KEY,
    event_id        uuid             NOT NULL UNIQUE,
    trace_id        text,
    strategy_id     text             NOT NULL,
    version         bigint           NOT NULL,
    kind            text             NOT NULL,
    from_level      text             NOT NULL,
    to_level        text             NOT NULL,
    cause           text,
    set_by          text,
    reason          text,
    earned          boolean,
    entered_at      timestamptz      NOT NULL,
    trades          bigint           NOT NULL,
    wins            bigint           NOT NULL,
    loss_streak     bigint           NOT NULL,
    gross_win       numeric          NOT NULL,
    gross_loss      numeric          NOT NULL,
    equity          numeric          NOT NULL,
    peak            numeric          NOT NULL,
    evidence        jsonb            NOT NULL,
    transitioned_at timestamptz      NOT NULL,
    created_at      timestamptz      NOT NULL
);
CREATE INDEX IF NOT EXISTS maturity_transitions_trace ON maturity_transitions (trace_id) WHERE trace_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS maturity_transitions_strategy ON maturity_transitions (strategy_id, transitioned_at);
CREATE INDEX IF NOT EXISTS maturity_transitions_time ON maturity_transitions (transitioned_at);

COMMENT ON TABLE maturity_transitions IS 'Every step on the maturity ladder, with the record that led to it.';
COMMENT ON COLUMN maturity_transitions.seq IS 'The step''s position in the log: governance_events has the whole event.';
COMMENT ON COLUMN maturity_transitions.event_id IS 'As in governance_events.';
COMMENT ON COLUMN maturity_transitions.trace_id IS 'Ties it to the order or trade that it followed from.';
COMMENT ON COLUMN maturity_transitions.strategy_id IS 'Who climbed or fell.';
COMMENT ON COLUMN maturity_transitions.version IS 'Position in the strategy''s stream.';
COMMENT ON COLUMN maturity_transitions.kind IS 'promoted, demoted, or set (by hand).';
COMMENT ON COLUMN maturity_transitions.from_level IS 'The level before.';
COMMENT ON COLUMN maturity_transitions.to_level IS 'The level after.';
COMMENT ON COLUMN maturity_transitions.cause IS 'Of a demotion: which threshold was crossed.';
COMMENT ON COLUMN maturity_transitions.set_by IS 'Of a step by hand: who.';
COMMENT ON COLUMN maturity_transitions.reason IS 'Of a step by hand: why.';
COMMENT ON COLUMN maturity_transitions.earned IS 'Of a step by hand: whether the record had earned it.';
COMMENT ON COLUMN maturity_transitions.entered_at IS 'When the level before was entered: the record counts from then.';
COMMENT ON COLUMN maturity_transitions.trades IS 'Trades closed at that level.';
COMMENT ON COLUMN maturity_transitions.wins IS 'Of these, with a profit.';
COMMENT ON COLUMN maturity_transitions.loss_streak IS 'Losses in a row at the end.';
COMMENT ON COLUMN maturity_transitions.gross_win IS 'Sum of profits; exact.';
COMMENT ON COLUMN maturity_transitions.gross_loss IS 'Sum of losses, without sign; exact.';
COMMENT ON COLUMN maturity_transitions.equity IS 'Allocated capital and all realised results; exact.';
COMMENT ON COLUMN maturity_transitions.peak IS 'The highest equity since the level was entered; exact.';
COMMENT ON COLUMN maturity_transitions.evidence IS 'The record, whole.';
COMMENT ON COLUMN maturity_transitions.transitioned_at IS 'When it was decided, to the microsecond.';
COMMENT ON COLUMN maturity_transitions.created_at IS 'When its record was made in the log.';

CREATE TABLE IF NOT EXISTS governance_checkpoint (
    one        boolean     PRIMARY KEY DEFAULT true CHECK (one),
    log        text        NOT NULL,
    last_seq   bigint      NOT NULL CHECK (last_seq >= 0),
    updated_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE governance_checkpoint IS 'How far the tables follow the log; changed in the transaction that writes the rows.';
COMMENT ON COLUMN governance_checkpoint.one IS 'There is one row.';
COMMENT ON COLUMN governance_checkpoint.log IS 'Which log: the hash of its first commit.';
COMMENT ON COLUMN governance_checkpoint.last_seq IS 'Every event up to this seq is here, once.';
COMMENT ON COLUMN governance_checkpoint.updated_at IS 'When that was last so, by this database''s clock.';
