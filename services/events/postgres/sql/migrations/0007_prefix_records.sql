-- Lets the database put the records of a page together as readers are sent them.

-- A length as protobuf writes it before what is so long: seven bits to the byte, the lowest first,
-- each byte but the last with its highest bit set. Up to 2^28 - 1.
--
-- One expression, so that it becomes part of the statement that calls it: a call for each record
-- would take longer than reading it.
CREATE FUNCTION events.length_prefix(byte_count integer) RETURNS bytea
IMMUTABLE PARALLEL SAFE LANGUAGE sql AS $$
    SELECT CASE
        WHEN byte_count < 128 THEN substring(int2send(byte_count::smallint) FROM 2)
        -- Less 2^16, since the highest bit of a smallint is its sign.
        WHEN byte_count < 16384 THEN int2send(
            (((byte_count & 127 | 128) << 8) + (byte_count >> 7) - 65536)::smallint
        )
        WHEN byte_count < 2097152 THEN substring(
            int4send(
                ((byte_count & 127 | 128) << 16)
                + ((byte_count >> 7 & 127 | 128) << 8)
                + (byte_count >> 14)
            )
            FROM 2
        )
        -- The highest bit goes off the end of an integer, and is its sign.
        ELSE int4send(
            ((byte_count & 127 | 128) << 24)
            + ((byte_count >> 7 & 127 | 128) << 16)
            + ((byte_count >> 14 & 127 | 128) << 8)
            + (byte_count >> 21)
        )
    END;
$$;

REVOKE EXECUTE ON FUNCTION events.length_prefix FROM PUBLIC;
GRANT EXECUTE ON FUNCTION events.length_prefix TO girih_events;
