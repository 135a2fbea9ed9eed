-- Who may do what in one test ISPyB: the current database. Run once for each database; roles and
-- users belong to the server. The passwords are filled in, quoted, by server.py.

CREATE ROLE IF NOT EXISTS ispyb_processing;
CREATE ROLE IF NOT EXISTS ispyb_ro_nopii;

GRANT SELECT, INSERT, UPDATE ON AutoProcProgram TO ispyb_processing;
GRANT SELECT, INSERT, UPDATE ON AutoProcProgramAttachment TO ispyb_processing;
GRANT SELECT, INSERT, UPDATE ON ProcessingJob TO ispyb_processing;
GRANT SELECT, INSERT, UPDATE ON ProcessingJobParameter TO ispyb_processing;

GRANT EXECUTE ON PROCEDURE upsert_processing_program_v2 TO ispyb_processing;
GRANT EXECUTE ON PROCEDURE upsert_processing_program_attachment_v2 TO ispyb_processing;
GRANT EXECUTE ON PROCEDURE upsert_processing_program_message TO ispyb_processing;
GRANT EXECUTE ON PROCEDURE upsert_processing TO ispyb_processing;
GRANT EXECUTE ON PROCEDURE insert_processing_scaling_v2 TO ispyb_processing;
GRANT EXECUTE ON PROCEDURE upsert_processing_integration TO ispyb_processing;
GRANT EXECUTE ON PROCEDURE upsert_processing_job TO ispyb_processing;
GRANT EXECUTE ON PROCEDURE upsert_processing_job_parameter TO ispyb_processing;
GRANT EXECUTE ON PROCEDURE upsert_processing_job_image_sweep TO ispyb_processing;

GRANT SELECT ON * TO ispyb_ro_nopii;

-- Tests only: fills in what SynchWeb and the beamlines write. No global privilege, so that the
-- server's init_connect (which sets the sql_mode) applies to it as to the others.
CREATE USER IF NOT EXISTS admin@'%' IDENTIFIED BY :admin_password;
GRANT ALL PRIVILEGES ON * TO admin@'%';

CREATE USER IF NOT EXISTS processing@'%' IDENTIFIED BY :processing_password;
GRANT ispyb_processing TO processing@'%';
SET DEFAULT ROLE ispyb_processing FOR processing@'%';

CREATE USER IF NOT EXISTS reader@'%' IDENTIFIED BY :reader_password;
GRANT ispyb_ro_nopii TO reader@'%';
SET DEFAULT ROLE ispyb_ro_nopii FOR reader@'%';
