-- A role that may read and nothing else. Whoever may not create roles gets everything but the role, and a warning;
-- `ephor audit-db migrate` runs this again each time, so the rights come when somebody else has made the role.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ephor_auditor') THEN
        BEGIN
            CREATE ROLE ephor_auditor NOLOGIN;
            COMMENT ON ROLE ephor_auditor IS 'Reads the audit trail of Ephor and writes nothing.';
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE WARNING '% may not create the role ephor_auditor', current_user;
            WHEN duplicate_object OR unique_violation THEN
                NULL;
        END;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'ephor_auditor') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO ephor_auditor', current_schema());
        GRANT SELECT ON governance_events, governance_logs, maturity_transitions, governance_checkpoint
            TO ephor_auditor;
    END IF;
END
$$;
